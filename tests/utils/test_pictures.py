import numpy as np

from menet_mm.utils.pictures import draw_result, read_image


def test_boxes_and_names_are_drawn_and_the_picture_is_left_alone():
    picture = np.full((200, 300, 3), 128, np.uint8)
    detections = [
        {'class': 'dog', 'label': 0, 'score': 0.9, 'box': [50, 60, 150, 160]},
        {'class': 'cat', 'label': 1, 'score': 0.8, 'box': [-5, -5, 400, 40]},  # beyond the border
    ]
    drawn = draw_result(picture, dict(detections=detections))
    assert (picture == 128).all()
    assert (drawn[100, 50] != 128).any()  # the left side of the dog
    assert (drawn[110, 100] == 128).all()  # inside of it
    assert (drawn[61:75, 152:] == 128).all()
    assert tuple(drawn[100, 50]) != tuple(drawn[40, 200])  # classes differ in colour
    assert (draw_result(picture, dict(detections=[])) == 128).all()
    labelled = draw_result(picture, dict(classes=[{'class': 'a very long name ' * 5, 'label': 3, 'score': 0.5}]))
    assert (labelled[:10] != 128).any()
    assert (labelled[50:] == 128).all()


def test_reading_says_what_is_wrong(tmp_path):
    (tmp_path / 'text.jpg').write_text('no picture')
    image, defect = read_image(tmp_path / 'text.jpg')
    assert image is None
    assert 'cannot identify' in defect
    assert read_image(tmp_path / 'none.jpg') == (None, 'no such file')
